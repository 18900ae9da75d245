with

vehicles as (
    select * from {{ source('nyc_fhv', 'vehicles') }}
),

-- Spellings that drift between lists are made one: BLACK-CAR, (718)583-9100, FOR HIRE VEHICLE.
named as (
    select
        nullif(trim(vehicle_license_number), '') as vehicle_license_number,
        nullif(trim(permit_license_number), '') as permit_license_number,
        nullif(trim(dmv_license_plate_number), '') as plate_number,
        nullif(trim(vehicle_vin_number), '') as vin,
        nullif(trim(base_number), '') as base_number,
        _batch_id as batch_id,

        initcap(trim(license_type)) as license_type,
        nullif(trim(name), '') as holder_name,
        nullif(trim(base_name), '') as base_name,
        upper(replace(trim(base_type), '-', ' ')) as base_type,
        regexp_replace(
            trim(base_telephone_number), r'^\((\d{3})\)\s*', r'(\1) '
        ) as base_telephone_number,
        nullif(trim(website), '') as base_website,
        nullif(trim(base_address), '') as base_address,
        upper(trim(wheelchair_accessible)) as wheelchair_code,
        upper(trim(veh)) as vehicle_code,
        reason as status_reason_code,
        _extra as extra_json,

        safe_cast(vehicle_year as int64) as model_year,

        coalesce(upper(active) = 'YES', false) as is_active,
        coalesce(_is_deleted, false) as is_deleted,

        -- Days come as midnights without a zone: 2026-06-30T00:00:00.000.
        date(safe_cast(expiration_date as datetime)) as expiration_date_new_york,
        date(safe_cast(certification_date as datetime)) as certification_date_new_york,
        date(safe_cast(hack_up_date as datetime)) as hack_up_date_new_york,
        date(safe_cast(order_date as datetime)) as order_date_new_york,
        datetime(
            date(safe_cast(last_date_updated as datetime)),
            safe.parse_time('%H:%M', last_time_updated)
        ) as written_at_new_york,
        -- A batch id begins with the dataset's rowsUpdatedAt: 20260219T201715000000_1a2b3c4d.
        timestamp_add(
            safe.parse_timestamp('%Y%m%dT%H%M%S', substr(_batch_id, 1, 15)),
            interval safe_cast(substr(_batch_id, 16, 6) as int64) microsecond
        ) as listed_at,
        _inserted_at as inserted_at,

        vehicle_year as model_year_as_sent,
        expiration_date as expiration_date_as_sent,
        certification_date as certification_date_as_sent,
        hack_up_date as hack_up_date_as_sent,
        order_date as order_date_as_sent,
        last_date_updated as last_date_updated_as_sent,
    from vehicles
),

final as (
    select
        vehicle_license_number,
        permit_license_number,
        plate_number,
        vin,
        base_number,
        batch_id,

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
        nullif(
            array_to_string(
                [
                    if(
                        model_year is null and model_year_as_sent is not null,
                        'vehicle_year',
                        null
                    ),
                    if(
                        expiration_date_new_york is null and expiration_date_as_sent is not null,
                        'expiration_date',
                        null
                    ),
                    if(
                        certification_date_new_york is null
                        and certification_date_as_sent is not null,
                        'certification_date',
                        null
                    ),
                    if(
                        hack_up_date_new_york is null and hack_up_date_as_sent is not null,
                        'hack_up_date',
                        null
                    ),
                    if(
                        order_date_new_york is null and order_date_as_sent is not null,
                        'order_date',
                        null
                    ),
                    if(
                        written_at_new_york is null and last_date_updated_as_sent is not null,
                        'last_date_updated',
                        null
                    )
                ],
                ','
            ),
            ''
        ) as unread_fields,
        extra_json,

        model_year,

        is_active,
        is_deleted,

        expiration_date_new_york,
        certification_date_new_york,
        hack_up_date_new_york,
        order_date_new_york,
        written_at_new_york,
        listed_at,
        inserted_at,
    from named
)

select * from final
