with

observations as (
    select * from {{ ref('stg_openweather__observations') }}
),

localised as (
    select
        location,
        main_condition,
        units,
        temperature,
        felt_temperature,
        humidity_percent,
        pressure_hpa,
        cloud_cover_percent,
        visibility_m,
        wind_speed,
        wind_gust_speed,
        rain_mm_per_hour,
        rain_3h_mm,
        snow_mm_per_hour,
        snow_3h_mm,
        coalesce(utc_offset_seconds, 0) as offset_seconds,
        datetime(
            timestamp_add(observed_at, interval coalesce(utc_offset_seconds, 0) second)
        ) as observed_at_local,
        observed_at,
        inserted_at,
    from observations
),

-- An hour is one of the local clock, so that it lies in one local day also where the offset is no
-- whole number of hours.
timed as (
    select
        location,
        main_condition,
        units,
        temperature,
        felt_temperature,
        humidity_percent,
        pressure_hpa,
        cloud_cover_percent,
        visibility_m,
        wind_speed,
        wind_gust_speed,
        rain_mm_per_hour,
        rain_3h_mm,
        snow_mm_per_hour,
        snow_3h_mm,
        offset_seconds,
        observed_at_local,
        observed_at,
        inserted_at,
        timestamp_sub(
            timestamp(datetime_trunc(observed_at_local, hour)), interval offset_seconds second
        ) as hour_started_at,
    from localised
),

final as (
    select
        location,
        main_condition,

        case units
            when 'metric' then temperature
            when 'imperial' then (temperature - 32) * 5 / 9
            when 'standard' then temperature - 273.15
        end as temperature_celsius,
        case units
            when 'metric' then felt_temperature
            when 'imperial' then (felt_temperature - 32) * 5 / 9
            when 'standard' then felt_temperature - 273.15
        end as felt_temperature_celsius,
        humidity_percent,
        pressure_hpa,
        cloud_cover_percent,
        visibility_m,
        -- A mile is 1609.344 m.
        case
            when units in ('metric', 'standard') then wind_speed
            when units = 'imperial' then wind_speed * 1609.344 / 3600
        end as wind_speed_m_per_s,
        case
            when units in ('metric', 'standard') then wind_gust_speed
            when units = 'imperial' then wind_gust_speed * 1609.344 / 3600
        end as wind_gust_speed_m_per_s,
        -- What is not reported "just did not happen or was not measured": it counts as none.
        coalesce(rain_mm_per_hour, rain_3h_mm / 3, 0) as rain_mm_per_hour,
        coalesce(snow_mm_per_hour, snow_3h_mm / 3, 0) as snow_mm_per_hour,
        offset_seconds as utc_offset_seconds,

        observed_at,
        observed_at_local,
        hour_started_at,
        inserted_at,
    from timed
)

select * from final
