with

events as (
    select * from {{ ref('live_earthquake_events') }}
),

final as (
    select
        event_id,
        magnitude_type,
        review_status,
        magnitude,
        updated_at,
        inserted_at,
    from events
)

select * from final
