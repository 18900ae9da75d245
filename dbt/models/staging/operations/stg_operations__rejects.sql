with

rejects as (
    select * from {{ source('operations', 'rejects') }}
),

-- Without the payload: personal data stays in the raw tables.
renamed as (
    select
        batch_id,
        row_number as batch_row_number,

        source,
        table_name,
        reason,

        is_expected,

        rejected_at,
    from rejects
),

final as (
    select * from renamed
)

select * from final
