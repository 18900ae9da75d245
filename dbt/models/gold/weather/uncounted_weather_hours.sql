with

hours as (
    select * from {{ ref('weather_hours') }}
    where {{ any_partition('hour_started_at') }}
),

with_reasons as (
    select
        location,
        {{ beyond_calendar('openweather', 'hour_started_at') }} as reason,
        observation_count,
        hour_started_at,
        first_observed_at,
        last_observed_at,
    from hours
),

final as (
    select
        location,
        reason,
        observation_count,
        hour_started_at,
        first_observed_at,
        last_observed_at,
    from with_reasons
    where reason is not null
)

select * from final
