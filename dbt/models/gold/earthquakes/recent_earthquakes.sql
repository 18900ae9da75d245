with

events as (
    select * from {{ ref('live_earthquake_events') }}
    where occurred_at >= timestamp_sub({{ now_utc() }}, interval 30 day)
),

final as (
    select
        event_id,
        place,
        region,
        event_type,
        magnitude_type,
        magnitude_class,
        event_url,
        magnitude,
        depth_km,
        latitude_degrees,
        longitude_degrees,
        significance,
        felt_reports,
        is_earthquake,
        is_felt,
        is_significant,
        {{ is_near_philippines('latitude_degrees', 'longitude_degrees') }} as is_near_philippines,
        occurred_at,
        updated_at,
    from events
)

select * from final
