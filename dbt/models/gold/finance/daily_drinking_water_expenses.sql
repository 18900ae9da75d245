with

spread_expenses as (
    select * from {{ ref('daily_spread_expenses') }}
),

final as (
    select
        date,
        daily_cost,
        average_daily_cost,
        full_cost,
    from spread_expenses
    where item = 'WATER'
)

select * from final
