with

hours as (
    select * from {{ ref('weather_hours') }}
    where
        {{ any_partition('hour_started_at') }}
        and {{ beyond_calendar('openweather', 'hour_started_at') }} is null
),

spans as (
    select
        location,
        min(hour_started_at) as first_hour_started_at,
        -- A location that is no longer asked for is missed for a week, then no more.
        least(
            greatest(max(hour_started_at), {{ now_utc() }}),
            timestamp_add(max(hour_started_at), interval 168 hour)
        ) as last_hour_started_at,
    from hours
    group by location
),

-- An observed hour is expected by that, also where the offset changed by half an hour.
expected_hours as (
    select
        spans.location,
        hour_started_at,
    from spans
    cross join unnest(
        generate_timestamp_array(
            spans.first_hour_started_at, spans.last_hour_started_at, interval 1 hour
        )
    ) as hour_started_at
    union distinct
    select
        hours.location,
        hours.hour_started_at,
    from hours
),

-- A missing hour has the offset of the one before.
placed_hours as (
    select
        expected_hours.location,
        expected_hours.hour_started_at,
        last_value(hours.utc_offset_seconds ignore nulls) over (
            partition by expected_hours.location
            order by expected_hours.hour_started_at
            rows between unbounded preceding and current row
        ) as utc_offset_seconds,
    from expected_hours
    left join hours
        on
            expected_hours.location = hours.location
            and expected_hours.hour_started_at = hours.hour_started_at
),

localised_hours as (
    select
        location,
        hour_started_at,
        utc_offset_seconds,
        datetime(
            timestamp_add(hour_started_at, interval utc_offset_seconds second)
        ) as hour_started_at_local,
    from placed_hours
),

final as (
    select
        localised_hours.location,
        hours.last_main_condition,

        coalesce(hours.observation_count, 0) as observation_count,
        hours.average_temperature_celsius,
        hours.lowest_temperature_celsius,
        hours.highest_temperature_celsius,
        hours.average_felt_temperature_celsius,
        hours.average_humidity_percent,
        hours.average_pressure_hpa,
        hours.average_cloud_cover_percent,
        hours.lowest_visibility_m,
        hours.average_wind_speed_m_per_s,
        hours.highest_wind_speed_m_per_s,
        hours.rain_mm,
        hours.snow_mm,
        localised_hours.utc_offset_seconds,

        hours.observation_count is not null as is_present,

        date(localised_hours.hour_started_at_local) as date_local,
        localised_hours.hour_started_at_local,
        localised_hours.hour_started_at,
        hours.last_observed_at,
    from localised_hours
    left join hours
        on
            localised_hours.location = hours.location
            and localised_hours.hour_started_at = hours.hour_started_at
)

select * from final
