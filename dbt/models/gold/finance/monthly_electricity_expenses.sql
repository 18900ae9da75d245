with

expenses as (
    select * from {{ ref('monthly_expenses') }}
),

final as (
    select
        year_month,
        sum(amount) as cost,
        sum(entry_count) as bill_count,
        sum(full_amount) as full_cost,
    from expenses
    where item = 'ELECTRICITY BILL'
    group by year_month
)

select * from final
