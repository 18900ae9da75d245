with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

final as (
    select
        year_month,
        entry_type as type,
        item,
        sum(amount) as amount,
        count(*) as entry_count,
        sum(full_amount) as full_amount,
    from expenses
    group by year_month, type, item
)

select * from final
