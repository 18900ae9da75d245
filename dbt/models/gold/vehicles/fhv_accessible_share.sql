with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

final as (
    select
        base_type,
        count(*) as vehicle_count,
        countif(is_accessible) as accessible_vehicle_count,
        countif(is_pilot and not is_accessible) as pilot_vehicle_count,
        countif(not is_pilot and not is_accessible) as other_vehicle_count,
        countif(is_accessible) / count(*) as accessible_share,
    from vehicles
    group by base_type
)

select * from final
