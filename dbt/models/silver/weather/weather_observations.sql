with

observations as (
    select * from {{ ref('stg_openweather__observations') }}
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
        -- What is not reported "just did not happen or was not measured": it counts as none. What
        -- was reported and cannot be read is not known.
        coalesce(
            rain_mm_per_hour,
            rain_3h_mm / 3,
            if({{ is_reported('rain') }}, null, 0)
        ) as rain_mm_per_hour,
        coalesce(
            snow_mm_per_hour,
            snow_3h_mm / 3,
            if({{ is_reported('snow') }}, null, 0)
        ) as snow_mm_per_hour,
        utc_offset_seconds,

        observed_at,
        inserted_at,
    from observations
)

select * from final
