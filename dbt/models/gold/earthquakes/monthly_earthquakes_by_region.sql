{{ config(tags=['once_a_day']) }}

with

events as (
    select * from {{ ref('live_earthquake_events') }}
    where uncounted_reason is null
),

final as (
    select
        region,
        -- A date already; bqemulator 1.4.0 makes a DATETIME of it.
        cast(date_trunc(date(occurred_at), month) as date) as activity_month,
        count(*) as event_count,
        countif(is_earthquake) as earthquake_count,
        countif(not is_earthquake) as other_event_count,
        countif(is_felt) as felt_event_count,
        countif(is_significant) as significant_event_count,
        max(magnitude) as max_magnitude,
        min(occurred_at) as first_occurred_at,
        max(occurred_at) as last_occurred_at,
    from events
    group by region, activity_month
)

select * from final
