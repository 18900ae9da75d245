with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

final as (
    select
        vehicle_license_number,
        base_number,
        plate_number,
        holder_name,
        listed_at,
    from vehicles
)

select * from final
