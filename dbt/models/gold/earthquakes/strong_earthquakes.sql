{{ config(tags=['once_a_day']) }}

with

events as (
    select * from {{ ref('live_earthquake_events') }}
),

placed_events as (
    select
        *,
        {{ is_near_philippines('latitude_degrees', 'longitude_degrees') }} as is_near_philippines,
    from events
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
        is_near_philippines,
        occurred_at,
    from placed_events
    where magnitude >= 5 or (is_near_philippines and magnitude >= 4)
)

select * from final
