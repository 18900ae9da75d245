with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

deliveries as (
    select
        year_month,
        upper(counterparty) as service,
        amount,
        full_amount,
    from expenses
    where item = 'FOOD' and upper(counterparty) in ('FOODPANDA', 'GRAB')
),

final as (
    select
        year_month,
        sum(amount) as cost,
        sum(if(service = 'FOODPANDA', amount, 0)) as foodpanda_cost,
        sum(if(service = 'GRAB', amount, 0)) as grab_cost,
        count(*) as delivery_count,
        sum(full_amount) as full_cost,
    from deliveries
    group by year_month
)

select * from final
