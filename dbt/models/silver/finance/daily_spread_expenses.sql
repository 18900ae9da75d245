with

expenses as (
    select * from {{ ref('ledger_expenses') }}
),

purchase_days as (
    select
        item,
        entry_date as purchase_date,
        sum(amount) as cost,
        sum(full_amount) as full_cost,
    from expenses
    where item in ('WATER', 'LAUNDRY')
    group by item, entry_date
),

-- Nothing is known of the days before the first purchase: it counts for its own day alone.
measured as (
    select
        item,
        purchase_date,
        cost,
        full_cost,
        coalesce(
            date_diff(
                purchase_date,
                lag(purchase_date) over (partition by item order by purchase_date),
                day
            ),
            1
        ) as day_count,
    from purchase_days
),

-- NUMERIC has nine decimals, so the purchase's own day takes what the division leaves over. The
-- casts change nothing on BigQuery; bqemulator 1.4.0 divides NUMERIC into FLOAT64.
divided as (
    select
        item,
        purchase_date,
        cost,
        full_cost,
        day_count,
        cast(cost / day_count as numeric) as share,
        cast(full_cost / day_count as numeric) as full_share,
    from measured
),

paid_days as (
    select
        item,
        date_sub(purchase_date, interval days_before day) as date,
        if(days_before = 0, cost - share * (day_count - 1), share) as daily_cost,
        if(
            days_before = 0, full_cost - full_share * (day_count - 1), full_share
        ) as full_cost,
    from divided
    cross join unnest(generate_array(0, day_count - 1)) as days_before
),

last_purchases as (
    select
        item,
        max(purchase_date) as purchase_date,
    from purchase_days
    group by item
),

-- What these cost is known when the next purchase is made.
open_days as (
    select
        item,
        date,
        cast(null as numeric) as daily_cost,
        cast(null as numeric) as full_cost,
    from last_purchases
    cross join unnest({{ calendar('date_add(purchase_date, interval 1 day)') }}) as date
),

days as (
    select item, date, daily_cost, full_cost, from paid_days
    union all
    select item, date, daily_cost, full_cost, from open_days
),

final as (
    select
        item,
        date,
        daily_cost,
        cast(
            avg(daily_cost) over (
                partition by item
                order by date
                rows between unbounded preceding and current row
            ) as numeric
        ) as average_daily_cost,
        full_cost,
    from days
)

select * from final
