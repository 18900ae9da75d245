with

events as (
    select * from {{ ref('live_earthquake_events') }}
    where uncounted_reason is null
),

final as (
    select
        event_id,
        place,
        region,
        event_type,
        magnitude_type,
        magnitude_class,
        pager_alert,
        event_url,
        magnitude,
        depth_km,
        latitude_degrees,
        longitude_degrees,
        significance,
        felt_reports,
        reported_intensity,
        estimated_intensity,
        is_significant,
        is_felt,
        is_tsunami_candidate,
        date(occurred_at, 'Asia/Manila') as activity_date_manila,
        occurred_at,
        updated_at,
    from events
    where is_significant or is_felt
)

select * from final
