-- Each location has as many observations in its days and in its hours as in staging, but for those
-- that cannot be counted, and its days have the rain and snow of its hours. Not judged when a batch
-- came in since the build began.
{{ config(group="weather") }}

with

observations as (
    select
        location,
        count(*) as staged_observation_count,
    from {{ ref('stg_openweather__observations') }}
    group by location
    having max(inserted_at) < timestamp '{{ run_started_at }}'
),

uncounted as (
    select
        location,
        sum(observation_count) as uncounted_observation_count,
    from {{ ref('uncounted_weather_hours') }}
    group by location
),

hours as (
    select
        location,
        sum(observation_count) as hourly_observation_count,
        coalesce(sum(cast(rain_mm as numeric)), 0) as hourly_rain_mm,
        coalesce(sum(cast(snow_mm as numeric)), 0) as hourly_snow_mm,
    from {{ ref('hourly_weather') }}
    group by location
),

days as (
    select
        location,
        sum(observation_count) as daily_observation_count,
        coalesce(sum(cast(rain_mm as numeric)), 0) as daily_rain_mm,
        coalesce(sum(cast(snow_mm as numeric)), 0) as daily_snow_mm,
    from {{ ref('daily_weather') }}
    group by location
),

compared as (
    select
        observations.location,
        observations.staged_observation_count
        - coalesce(uncounted.uncounted_observation_count, 0) as staged_observation_count,
        coalesce(hours.hourly_observation_count, 0) as hourly_observation_count,
        coalesce(days.daily_observation_count, 0) as daily_observation_count,
        hours.hourly_rain_mm,
        days.daily_rain_mm,
        hours.hourly_snow_mm,
        days.daily_snow_mm,
    from observations
    left join hours on observations.location = hours.location
    left join days on observations.location = days.location
    left join uncounted on observations.location = uncounted.location
)

select *
from compared
where
    staged_observation_count != hourly_observation_count
    or staged_observation_count != daily_observation_count
    or abs(hourly_rain_mm - daily_rain_mm) > 0.001
    or abs(hourly_snow_mm - daily_snow_mm) > 0.001
