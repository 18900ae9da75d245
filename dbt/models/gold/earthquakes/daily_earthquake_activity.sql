with

events as (
    select * from {{ ref('live_earthquake_events') }}
    where uncounted_reason is null
),

dated_events as (
    select
        calendar,
        date(occurred_at, calendar) as activity_date,
        magnitude_class,
        magnitude,
        depth_km,
        is_earthquake,
        is_felt,
        is_significant,
        occurred_at,
    from events
    cross join unnest(['UTC', 'Asia/Manila']) as calendar
),

final as (
    select
        calendar,
        activity_date,
        magnitude_class,
        count(*) as event_count,
        countif(is_earthquake) as earthquake_count,
        countif(not is_earthquake) as other_event_count,
        countif(is_felt) as felt_event_count,
        countif(is_significant) as significant_event_count,
        max(magnitude) as max_magnitude,
        min(depth_km) as shallowest_depth_km,
        max(depth_km) as deepest_depth_km,
        min(occurred_at) as first_occurred_at,
        max(occurred_at) as last_occurred_at,
    from dated_events
    group by calendar, activity_date, magnitude_class
)

select * from final
