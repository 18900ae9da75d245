with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

-- What most of its vehicles say is the base's own.
final as (
    select
        base_number,
        base_name,
        base_type,
        base_telephone_number,
        base_website,
        base_address,
    from vehicles
    where base_number is not null
    group by
        base_number, base_name, base_type, base_telephone_number, base_website, base_address
    qualify
        row_number() over (
            partition by base_number
            order by
                count(*) desc,
                base_name asc,
                base_type asc,
                base_telephone_number asc,
                base_website asc,
                base_address asc
        ) = 1
)

select * from final
