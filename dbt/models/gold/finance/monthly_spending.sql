with

monthly_expenses as (
    select * from {{ ref('monthly_expenses') }}
),

final as (
    select
        year_month,
        type,
        coalesce(item, 'no item') as item,
        amount as cost,
        entry_count,
        full_amount as full_cost,
    from monthly_expenses
)

select * from final
