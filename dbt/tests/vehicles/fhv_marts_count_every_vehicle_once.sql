-- Each mart of the list counts every vehicle once, and the running count ends at the list's size.
{{ config(group="vehicles") }}

with

vehicles as (
    select
        count(*) as vehicle_count,
        countif(base_number is not null) as based_vehicle_count,
    from {{ ref('fhv_vehicles') }}
),

counted as (
    select
        'fhv_vehicles_by_base_and_type' as mart,
        vehicles.vehicle_count as expected_count,
        (
            select coalesce(sum(mart.vehicle_count), 0)
            from {{ ref('fhv_vehicles_by_base_and_type') }} as mart
        ) as counted_count,
    from vehicles
    union all
    select
        'fhv_vehicles_by_model_year' as mart,
        vehicles.vehicle_count as expected_count,
        (
            select coalesce(sum(mart.vehicle_count), 0)
            from {{ ref('fhv_vehicles_by_model_year') }} as mart
        ) as counted_count,
    from vehicles
    union all
    select
        'fhv_accessible_share' as mart,
        vehicles.vehicle_count as expected_count,
        (
            select coalesce(sum(mart.vehicle_count), 0)
            from {{ ref('fhv_accessible_share') }} as mart
        ) as counted_count,
    from vehicles
    union all
    select
        'monthly_fhv_license_expirations' as mart,
        vehicles.vehicle_count as expected_count,
        (
            select coalesce(sum(mart.expiring_license_count), 0)
            from {{ ref('monthly_fhv_license_expirations') }} as mart
        ) as counted_count,
    from vehicles
    union all
    select
        'fhv_base_leaderboard' as mart,
        vehicles.based_vehicle_count as expected_count,
        (
            select coalesce(sum(mart.vehicle_count), 0)
            from {{ ref('fhv_base_leaderboard') }} as mart
        ) as counted_count,
    from vehicles
    union all
    select
        'daily_fhv_joiners_and_leavers' as mart,
        vehicles.vehicle_count as expected_count,
        (
            select coalesce(max_by(mart.closing_license_count, mart.list_date_new_york), 0)
            from {{ ref('daily_fhv_joiners_and_leavers') }} as mart
        ) as counted_count,
    from vehicles
)

select *
from counted
where expected_count != counted_count
