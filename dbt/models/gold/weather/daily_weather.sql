with

hours as (
    select * from {{ ref('hourly_weather') }}
),

final as (
    select
        location,
        date_local,

        sum(observation_count) as observation_count,
        count(*) as expected_hour_count,
        countif(is_present) as present_hour_count,
        countif(is_present) / count(*) as coverage_share,
        {{ exact_average('average_temperature_celsius') }} as average_temperature_celsius,
        min(lowest_temperature_celsius) as lowest_temperature_celsius,
        max(highest_temperature_celsius) as highest_temperature_celsius,
        {{ exact_average('average_humidity_percent') }} as average_humidity_percent,
        {{ exact_average('average_pressure_hpa') }} as average_pressure_hpa,
        {{ exact_average('average_cloud_cover_percent') }} as average_cloud_cover_percent,
        min(lowest_visibility_m) as lowest_visibility_m,
        {{ exact_average('average_wind_speed_m_per_s') }} as average_wind_speed_m_per_s,
        max(highest_wind_speed_m_per_s) as highest_wind_speed_m_per_s,
        cast(sum(cast(rain_mm as numeric)) as float64) as rain_mm,
        cast(sum(cast(snow_mm as numeric)) as float64) as snow_mm,
        countif(rain_mm > 0) as rainy_hour_count,
        min(utc_offset_seconds) as utc_offset_seconds,

        min(hour_started_at) as first_hour_started_at,
        max(hour_started_at) as last_hour_started_at,
    from hours
    group by location, date_local
)

select * from final
