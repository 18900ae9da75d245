{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['location', 'hour_started_at'],
        partition_by={
            'field': 'hour_started_at', 'data_type': 'timestamp', 'granularity': 'month',
        },
        cluster_by=['location'],
        require_partition_filter=true,
        incremental_predicates=[
            "{{ merge_range(ref('weather_observations'), 'observed_at', hours_before=1, own_time='hour_started_at') }}",
        ],
        on_schema_change='fail',
    )
}}

{%- if is_incremental() %}
    {%- set window = incremental_window(
        ref('weather_observations'),
        'observed_at',
        hours_before=1,
        own_time='hour_started_at'
    ) %}
{%- endif %}

with

-- Every hour that may have news is made again from all of its observations.
observations as (
    select * from {{ ref('weather_observations') }}
    {%- if is_incremental() %}
    where
        observed_at between {{ window.changed_from }}
            and timestamp_add({{ window.changed_to }}, interval 1 hour)
        and inserted_at <= {{ window.until }}
    {%- endif %}
),

known_offsets as (
    select
        location,
        utc_offset_seconds,
        observed_at as known_at,
        inserted_at,
    from {{ ref('weather_observations') }}
    where
        utc_offset_seconds is not null
        {%- if is_incremental() %}
        and observed_at between timestamp_sub({{ window.changed_from }}, interval 366 day)
            and timestamp_add({{ window.changed_to }}, interval 1 hour)
        {%- endif %}
),

-- An answer without an offset has the last one that was known of the point when it came. What is
-- loaded later does not change that, so that increments give what a full refresh gives.
last_offsets as (
    select
        observations.location,
        observations.observed_at,
        max_by(
            known_offsets.utc_offset_seconds, known_offsets.known_at
        ) as utc_offset_seconds,
    from observations
    inner join known_offsets
        on
            observations.location = known_offsets.location
            and observations.observed_at >= known_offsets.known_at
            and observations.observed_at
                <= timestamp_add(known_offsets.known_at, interval 366 day)
            and observations.inserted_at >= known_offsets.inserted_at
    where observations.utc_offset_seconds is null
    group by observations.location, observations.observed_at
),

-- An hour is one of the local clock, so that it lies in one local day also where the offset is no
-- whole number of hours.
with_offsets as (
    select
        observations.location,
        observations.main_condition,
        observations.temperature_celsius,
        observations.felt_temperature_celsius,
        observations.humidity_percent,
        observations.pressure_hpa,
        observations.cloud_cover_percent,
        observations.visibility_m,
        observations.wind_speed_m_per_s,
        observations.wind_gust_speed_m_per_s,
        observations.rain_mm_per_hour,
        observations.snow_mm_per_hour,
        coalesce(
            observations.utc_offset_seconds, last_offsets.utc_offset_seconds, 0
        ) as utc_offset_seconds,
        observations.observed_at,
        observations.inserted_at,
    from observations
    left join last_offsets
        on
            observations.location = last_offsets.location
            and observations.observed_at = last_offsets.observed_at
),

timed as (
    select
        location,
        main_condition,
        temperature_celsius,
        felt_temperature_celsius,
        humidity_percent,
        pressure_hpa,
        cloud_cover_percent,
        visibility_m,
        wind_speed_m_per_s,
        wind_gust_speed_m_per_s,
        rain_mm_per_hour,
        snow_mm_per_hour,
        utc_offset_seconds,
        observed_at,
        inserted_at,
        timestamp_sub(
            timestamp(
                datetime_trunc(
                    datetime(timestamp_add(observed_at, interval utc_offset_seconds second)), hour
                )
            ),
            interval utc_offset_seconds second
        ) as hour_started_at,
    from with_offsets
),

final as (
    select
        location,
        hour_started_at,

        max_by(main_condition, observed_at) as last_main_condition,

        count(*) as observation_count,
        {{ exact_average('temperature_celsius') }} as average_temperature_celsius,
        min(temperature_celsius) as lowest_temperature_celsius,
        max(temperature_celsius) as highest_temperature_celsius,
        {{ exact_average('felt_temperature_celsius') }} as average_felt_temperature_celsius,
        {{ exact_average('humidity_percent') }} as average_humidity_percent,
        {{ exact_average('pressure_hpa') }} as average_pressure_hpa,
        {{ exact_average('cloud_cover_percent') }} as average_cloud_cover_percent,
        min(visibility_m) as lowest_visibility_m,
        {{ exact_average('wind_speed_m_per_s') }} as average_wind_speed_m_per_s,
        max(
            greatest(
                coalesce(wind_speed_m_per_s, wind_gust_speed_m_per_s),
                coalesce(wind_gust_speed_m_per_s, wind_speed_m_per_s)
            )
        ) as highest_wind_speed_m_per_s,
        -- The average rate over an hour, times one hour.
        {{ exact_average('rain_mm_per_hour') }} as rain_mm,
        {{ exact_average('snow_mm_per_hour') }} as snow_mm,
        max(utc_offset_seconds) as utc_offset_seconds,

        min(observed_at) as first_observed_at,
        max(observed_at) as last_observed_at,
        max(inserted_at) as inserted_at,
    from timed
    {%- if is_incremental() %}
    where hour_started_at between {{ window.changed_from }} and {{ window.changed_to }}
    {%- endif %}
    group by location, hour_started_at
)

select * from final
