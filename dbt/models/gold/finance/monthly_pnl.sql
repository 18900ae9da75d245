with

monthly_expenses as (
    select * from {{ ref('monthly_expenses') }}
),

monthly_income as (
    select * from {{ ref('monthly_income') }}
),

sides as (
    select year_month, amount as expenses, 0 as income, from monthly_expenses
    union all
    select year_month, 0 as expenses, amount as income, from monthly_income
),

totals as (
    select
        year_month,
        sum(expenses) as expenses,
        sum(income) as income,
    from sides
    group by year_month
),

span as (
    select
        parse_date('%Y-%m', min(year_month)) as first_month,
        parse_date('%Y-%m', max(year_month)) as last_month,
    from totals
),

months as (
    select format_date('%Y-%m', month_start) as year_month,
    from span
    cross join
        unnest({{ calendar('first_month', last='last_month', step='month') }}) as month_start
),

balanced as (
    select
        months.year_month,
        coalesce(totals.expenses, 0) as expenses,
        coalesce(totals.income, 0) as income,
        coalesce(totals.income, 0) - coalesce(totals.expenses, 0) as savings,
    from months
    left join totals on months.year_month = totals.year_month
),

final as (
    select
        year_month,
        expenses,
        income,
        savings,
        sum(savings) over (
            order by year_month
            rows between unbounded preceding and current row
        ) as running_savings,
    from balanced
)

select * from final
