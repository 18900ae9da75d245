with

listed_vehicles as (
    select * from {{ ref('stg_nyc_fhv__vehicles') }}
),

-- Of the lines of one licence the one that ends last stands; then the text of the line decides, so
-- that the same list always gives the same row.
final as (
    select
        vehicle_license_number,
        permit_license_number,
        plate_number,
        vin,
        base_number,

        license_type,
        holder_name,
        base_name,
        base_type,
        base_telephone_number,
        base_website,
        base_address,
        wheelchair_code,
        vehicle_code,
        status_reason_code,

        model_year,
        count(*) over (partition by vehicle_license_number) as line_count,

        coalesce(wheelchair_code = 'WAV' or vehicle_code = 'WAV', false) as is_accessible,
        coalesce(wheelchair_code = 'PILOT', false) as is_pilot,
        coalesce(vehicle_code in ('HYB', 'BEV'), false) as is_electrified,

        expiration_date_new_york,
        certification_date_new_york,
        hack_up_date_new_york,
        written_at_new_york,
        listed_at,
    from listed_vehicles
    where vehicle_license_number is not null and not is_deleted
    qualify
        row_number() over (
            partition by vehicle_license_number
            order by expiration_date_new_york desc nulls last, to_json_string(listed_vehicles)
        ) = 1
)

select * from final
