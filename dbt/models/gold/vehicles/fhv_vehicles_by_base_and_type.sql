with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

bases as (
    select * from {{ ref('fhv_bases') }}
),

counted_vehicles as (
    select
        base_number,
        base_type,
        license_type,
        count(*) as vehicle_count,
        countif(is_accessible) as accessible_vehicle_count,
        countif(is_electrified) as electrified_vehicle_count,
        min(model_year) as oldest_model_year,
        max(model_year) as newest_model_year,
        min(expiration_date_new_york) as next_expiration_date_new_york,
    from vehicles
    group by base_number, base_type, license_type
),

final as (
    select
        counted_vehicles.base_number,
        counted_vehicles.base_type,
        counted_vehicles.license_type,
        bases.base_name,
        counted_vehicles.vehicle_count,
        counted_vehicles.accessible_vehicle_count,
        counted_vehicles.electrified_vehicle_count,
        counted_vehicles.oldest_model_year,
        counted_vehicles.newest_model_year,
        counted_vehicles.next_expiration_date_new_york,
    from counted_vehicles
    left join bases on counted_vehicles.base_number = bases.base_number
)

select * from final
