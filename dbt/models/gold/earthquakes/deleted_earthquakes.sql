{{ config(tags=['once_a_day']) }}

with

events as (
    select * from {{ ref('earthquake_events') }}
    where {{ any_partition('occurred_at') }}
),

live_events as (
    select * from {{ ref('live_earthquake_events') }}
),

deleted_events as (
    select
        event_id,
        place,
        event_type,
        magnitude_type,
        magnitude,
        occurred_at,
        updated_at,
        inserted_at,
    from events
    where is_deleted
),

-- A live event that counts the deleted id among its own was given another id.
heirs as (
    select
        deleted_events.event_id,
        max_by(live_events.event_id, live_events.updated_at) as replaced_by_event_id,
    from live_events
    cross join unnest(split(live_events.event_ids, ',')) as known_id
    inner join deleted_events on known_id = deleted_events.event_id
    group by deleted_events.event_id
),

final as (
    select
        deleted_events.event_id,
        heirs.replaced_by_event_id,
        if(heirs.replaced_by_event_id is null, 'deleted', 'renamed') as deletion_kind,
        deleted_events.place,
        deleted_events.event_type,
        deleted_events.magnitude_type,
        deleted_events.magnitude,
        deleted_events.occurred_at,
        deleted_events.updated_at,
        deleted_events.inserted_at as marked_at,
    from deleted_events
    left join heirs on deleted_events.event_id = heirs.event_id
)

select * from final
