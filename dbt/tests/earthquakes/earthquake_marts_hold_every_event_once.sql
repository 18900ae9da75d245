-- Every event in raw is in exactly one of: a month of its region, the deleted ones, those that
-- cannot be counted. Not judged when a batch came in since the build began.
{{ config(group="earthquakes") }}

with

events as (
    select
        countif(not is_deleted) as live_event_count,
        countif(is_deleted) as deleted_event_count,
    from {{ ref('stg_usgs__events') }}
    having max(inserted_at) < timestamp '{{ run_started_at }}'
),

regions as (
    select
        coalesce(sum(event_count), 0)
        + (select count(*) from {{ ref('uncounted_earthquakes') }}) as region_event_count,
    from {{ ref('monthly_earthquakes_by_region') }}
),

deleted as (
    select count(*) as listed_event_count,
    from {{ ref('deleted_earthquakes') }}
),

compared as (
    select
        events.live_event_count,
        events.deleted_event_count,
        regions.region_event_count,
        deleted.listed_event_count,
    from events
    cross join regions
    cross join deleted
)

select *
from compared
where
    live_event_count != region_event_count
    or deleted_event_count != listed_event_count
