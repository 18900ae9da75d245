with

fields as (
    select * from {{ source('operations', 'fields') }}
),

renamed as (
    select
        batch_id,

        source,
        table_name,
        field,
        change,

        announced_at,
    from fields
),

final as (
    select * from renamed
)

select * from final
