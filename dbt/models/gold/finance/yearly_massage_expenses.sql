with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

final as (
    select
        extract(year from entry_date) as year,
        item,
        sum(amount) as cost,
        count(*) as session_count,
        sum(full_amount) as full_cost,
    from expenses
    where item in ('MASSAGE', 'MASSAGE CHAIR')
    group by year, item
)

select * from final
