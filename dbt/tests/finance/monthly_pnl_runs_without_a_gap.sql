-- Each month follows the one before it; its running savings are those of that month and its own.
{{ config(group="finance") }}

with

pnl as (
    select * from {{ ref('monthly_pnl') }}
),

paired as (
    select
        year_month,
        savings,
        running_savings,
        lag(year_month) over (order by year_month) as previous_year_month,
        lag(running_savings) over (order by year_month) as previous_running_savings,
    from pnl
),

final as (
    select
        year_month,
        previous_year_month,
        savings,
        running_savings,
        previous_running_savings,
    from paired
    where
        running_savings != coalesce(previous_running_savings, 0) + savings
        or date_diff(
            parse_date('%Y-%m', year_month), parse_date('%Y-%m', previous_year_month), month
        ) != 1
)

select * from final
