with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

final as (
    select
        extract(year from entry_date) as year,
        sum(amount) as cost,
        count(*) as purchase_count,
        sum(full_amount) as full_cost,
    from expenses
    where item = 'CLOTHES'
    group by year
)

select * from final
