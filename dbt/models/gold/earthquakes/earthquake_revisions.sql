{{ config(tags=['once_a_day']) }}

with

history as (
    select * from {{ ref('earthquake_magnitude_history') }}
),

events as (
    select * from {{ ref('live_earthquake_events') }}
    where uncounted_reason is null
),

versions as (
    select
        event_id,
        magnitude,
        magnitude_type,
        updated_at,
        count(*) over (partition by event_id) as version_count,
        row_number() over (partition by event_id order by dbt_valid_from) as version_number,
    from history
),

first_versions as (
    select
        event_id,
        magnitude,
        magnitude_type,
        updated_at,
        version_count,
    from versions
    where version_number = 1 and version_count > 1
),

latest_versions as (
    select
        event_id,
        magnitude,
        magnitude_type,
        updated_at,
    from versions
    where version_number = version_count
),

final as (
    select
        events.event_id,
        events.place,
        events.region,
        first_versions.magnitude_type as first_magnitude_type,
        latest_versions.magnitude_type as latest_magnitude_type,
        {{ magnitude_class('first_versions.magnitude') }} as first_magnitude_class,
        {{ magnitude_class('latest_versions.magnitude') }} as latest_magnitude_class,
        first_versions.version_count - 1 as revision_count,
        first_versions.magnitude as first_magnitude,
        latest_versions.magnitude as latest_magnitude,
        -- Magnitudes have up to three decimals; their difference as FLOAT64 would have sixteen.
        round(latest_versions.magnitude - first_versions.magnitude, 3) as magnitude_change,
        events.occurred_at,
        first_versions.updated_at as first_magnitude_at,
        latest_versions.updated_at as latest_magnitude_at,
    from events
    inner join first_versions on events.event_id = first_versions.event_id
    inner join latest_versions on events.event_id = latest_versions.event_id
)

select * from final
