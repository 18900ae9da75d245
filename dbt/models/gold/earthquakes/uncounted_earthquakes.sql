with

events as (
    select * from {{ ref('live_earthquake_events') }}
),

final as (
    select
        event_id,
        place,
        event_type,
        uncounted_reason as reason,
        magnitude,
        occurred_at,
        updated_at,
    from events
    where uncounted_reason is not null
)

select * from final
