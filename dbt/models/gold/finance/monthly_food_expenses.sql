with

expenses as (
    select * from {{ ref('monthly_expenses') }}
),

final as (
    select
        year_month,
        sum(amount) as cost,
        sum(if(item = 'FOOD', amount, 0)) as food_cost,
        sum(if(item = 'GROCERY', amount, 0)) as grocery_cost,
        sum(full_amount) as full_cost,
    from expenses
    where item in ('FOOD', 'GROCERY')
    group by year_month
)

select * from final
