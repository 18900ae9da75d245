with

observations as (
    select * from {{ source('openweather', 'observations') }}
),

renamed as (
    select
        location,
        id as city_id,
        sys_type as internal_type_id,
        sys_id as internal_id,
        _batch_id as batch_id,

        name as city_name,
        sys_country as country_code,
        units,
        json_value(weather, '$[0].main') as main_condition,
        json_value(weather, '$[0].description') as main_condition_description,
        weather as conditions_json,
        base as internal_base,
        _extra as extra_json,

        latitude as asked_latitude_degrees,
        longitude as asked_longitude_degrees,
        coord_lat as latitude_degrees,
        coord_lon as longitude_degrees,
        {{ sent_number('main_temp') }} as temperature,
        {{ sent_number('main_feels_like') }} as felt_temperature,
        {{ sent_number('main_temp_min') }} as area_lowest_temperature,
        {{ sent_number('main_temp_max') }} as area_highest_temperature,
        {{ sent_number('main_pressure') }} as pressure_hpa,
        {{ sent_number('main_sea_level') }} as sea_level_pressure_hpa,
        {{ sent_number('main_grnd_level') }} as ground_level_pressure_hpa,
        {{ sent_number('main_humidity') }} as humidity_percent,
        {{ sent_number('visibility') }} as visibility_m,
        {{ sent_number('wind_speed') }} as wind_speed,
        {{ sent_number('wind_gust') }} as wind_gust_speed,
        {{ sent_number('wind_deg') }} as wind_direction_degrees,
        {{ sent_number('clouds_all') }} as cloud_cover_percent,
        {{ sent_number('rain_1h') }} as rain_mm_per_hour,
        {{ sent_number('rain_3h') }} as rain_3h_mm,
        {{ sent_number('snow_1h') }} as snow_mm_per_hour,
        {{ sent_number('snow_3h') }} as snow_3h_mm,
        {{ sent_number('timezone', 'int64') }} as utc_offset_seconds,
        cod as response_code,

        dt as observed_at,
        sys_sunrise as sunrise_at,
        sys_sunset as sunset_at,
        _inserted_at as inserted_at,
    from observations
),

final as (
    select * from renamed
)

select * from final
