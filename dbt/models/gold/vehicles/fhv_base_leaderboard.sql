with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

bases as (
    select * from {{ ref('fhv_bases') }}
),

fleets as (
    select
        base_number,
        count(*) as vehicle_count,
        countif(is_accessible) as accessible_vehicle_count,
        countif(is_electrified) as electrified_vehicle_count,
        avg(model_year) as average_model_year,
    from vehicles
    where base_number is not null
    group by base_number
),

final as (
    select
        bases.base_number,
        bases.base_name,
        bases.base_type,
        rank() over (order by fleets.vehicle_count desc) as size_rank,
        fleets.vehicle_count,
        fleets.accessible_vehicle_count,
        fleets.electrified_vehicle_count,
        fleets.vehicle_count / sum(fleets.vehicle_count) over () as fleet_share,
        fleets.accessible_vehicle_count / fleets.vehicle_count as accessible_share,
        fleets.average_model_year,
    from bases
    inner join fleets on bases.base_number = fleets.base_number
)

select * from final
