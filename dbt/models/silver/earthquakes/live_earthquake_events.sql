with

events as (
    select * from {{ ref('earthquake_events') }}
    where {{ any_partition('occurred_at') }}
),

final as (
    select
        event_id,

        place,
        {{ earthquake_region('place') }} as region,
        event_type,
        magnitude_type,
        {{ magnitude_class('magnitude') }} as magnitude_class,
        review_status,
        pager_alert,
        event_ids,
        event_url,
        {{ beyond_calendar('usgs_earthquake', 'occurred_at') }} as uncounted_reason,

        magnitude,
        longitude_degrees,
        latitude_degrees,
        depth_km,
        significance,
        felt_reports,
        reported_intensity,
        estimated_intensity,

        coalesce(event_type = 'earthquake', false) as is_earthquake,
        coalesce(felt_reports > 0, false) as is_felt,
        -- https://earthquake.usgs.gov/earthquakes/browse/significant.php: "significance > 600"
        coalesce(significance > 600, false) as is_significant,
        coalesce(is_tsunami_candidate, false) as is_tsunami_candidate,

        occurred_at,
        updated_at,
        inserted_at,
    from events
    where not is_deleted
)

select * from final
