with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

final as (
    select
        -- A date already; bqemulator 1.4.0 makes a DATETIME of it.
        cast(date_trunc(expiration_date_new_york, month) as date) as expiration_month_new_york,
        count(*) as expiring_license_count,
        countif(expiration_date_new_york < date(listed_at, 'America/New_York'))
            as expired_license_count,
        count(distinct base_number) as base_count,
        countif(is_accessible) as accessible_vehicle_count,
    from vehicles
    group by expiration_month_new_york
)

select * from final
