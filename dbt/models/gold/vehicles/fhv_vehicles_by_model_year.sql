with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

final as (
    select
        model_year,
        count(*) as vehicle_count,
        countif(is_accessible) as accessible_vehicle_count,
        countif(is_electrified) as electrified_vehicle_count,
        count(*) / sum(count(*)) over () as fleet_share,
    from vehicles
    group by model_year
)

select * from final
