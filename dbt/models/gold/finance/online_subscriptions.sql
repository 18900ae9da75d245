with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

final as (
    select
        entry_id as id,
        year_month,
        counterparty as `to`,
        amount as cost,
        account as source,
        inserted_at as _inserted_at,
        is_deleted as _is_deleted,
    from expenses
    where item = 'SUBSCRIPTION'
)

select * from final
