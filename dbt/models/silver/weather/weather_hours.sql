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
            "{{ merge_range(ref('weather_observations'), 'hour_started_at', hours_before=1) }}",
        ],
        on_schema_change='fail',
    )
}}

{%- if is_incremental() %}
    {%- set window = incremental_window(
        ref('weather_observations'), 'hour_started_at', hours_before=1
    ) %}
{%- endif %}

with

-- Every hour from the first to the last that has news is made anew from all of its observations.
observations as (
    select * from {{ ref('weather_observations') }}
    {%- if is_incremental() %}
    where
        hour_started_at between {{ window.changed_from }} and {{ window.changed_to }}
        -- The same in the column by which raw is partitioned.
        and observed_at between {{ window.changed_from }}
            and timestamp_add({{ window.changed_to }}, interval 1 hour)
        and inserted_at <= {{ window.until }}
    {%- endif %}
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
        max(greatest(wind_speed_m_per_s, coalesce(wind_gust_speed_m_per_s, wind_speed_m_per_s)))
            as highest_wind_speed_m_per_s,
        -- The average rate over an hour, times one hour.
        {{ exact_average('rain_mm_per_hour') }} as rain_mm,
        {{ exact_average('snow_mm_per_hour') }} as snow_mm,
        max(utc_offset_seconds) as utc_offset_seconds,

        min(observed_at) as first_observed_at,
        max(observed_at) as last_observed_at,
        max(inserted_at) as inserted_at,
    from observations
    group by location, hour_started_at
)

select * from final
