with

vehicles as (
    select * from {{ ref('fhv_vehicles') }}
),

spellings as (
    select
        base_number,
        base_name,
        base_type,
        base_telephone_number,
        base_website,
        base_address,
        count(*) as vehicle_count,
    from vehicles
    where base_number is not null
    group by
        base_number, base_name, base_type, base_telephone_number, base_website, base_address
),

-- What most of its vehicles say is the base's own.
ranked_spellings as (
    select
        *,
        row_number() over (
            partition by base_number
            order by
                vehicle_count desc, base_name, base_type, base_telephone_number, base_website,
                base_address
        ) as spelling_rank,
    from spellings
),

final as (
    select
        base_number,
        base_name,
        base_type,
        base_telephone_number,
        base_website,
        base_address,
    from ranked_spellings
    where spelling_rank = 1
)

select * from final
