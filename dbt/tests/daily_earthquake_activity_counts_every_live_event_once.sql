-- The counts of each calendar add up to the live events in staging but for those that cannot be
-- counted, and to their parts. Not judged
-- when a batch came in since the build began.
{{ config(group="earthquakes") }}

with

live_events as (
    select
        countif(not is_deleted)
        - (select count(*) from {{ ref('uncounted_earthquakes') }}) as live_event_count,
    from {{ ref('stg_usgs__events') }}
    having max(inserted_at) < timestamp '{{ run_started_at }}'
),

calendars as (
    select calendar,
    from unnest(['UTC', 'Asia/Manila']) as calendar
),

counted as (
    select
        calendar,
        sum(event_count) as counted_event_count,
        sum(earthquake_count + other_event_count) as parts_event_count,
    from {{ ref('daily_earthquake_activity') }}
    group by calendar
),

compared as (
    select
        calendars.calendar,
        live_events.live_event_count,
        coalesce(counted.counted_event_count, 0) as counted_event_count,
        coalesce(counted.parts_event_count, 0) as parts_event_count,
    from calendars
    cross join live_events
    left join counted on calendars.calendar = counted.calendar
)

select *
from compared
where
    live_event_count != counted_event_count
    or live_event_count != parts_event_count
