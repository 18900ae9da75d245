with

monthly_expenses as (
    select * from {{ ref('monthly_expenses') }}
),

monthly_income as (
    select * from {{ ref('monthly_income') }}
),

sides as (
    select
        year_month,
        amount as expenses,
        0 as income,
        full_amount as full_cost,
    from monthly_expenses
    union all
    select
        year_month,
        0 as expenses,
        amount as income,
        0 as full_cost,
    from monthly_income
),

totals as (
    select
        year_month,
        sum(expenses) as expenses,
        sum(income) as income,
        sum(full_cost) as full_cost,
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
        coalesce(totals.full_cost, 0) as full_cost,
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
        full_cost,
    from balanced
)

select * from final
