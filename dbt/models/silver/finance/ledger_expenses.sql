with

entries as (
    select * from {{ ref('ledger_entries') }}
),

final as (
    select
        entry_id,
        entry_type,
        item,
        counterparty,
        account,
        amount,
        year_month,
        entry_date,
        entry_time,
    from entries
    where direction = 'EXPENSES' and uncounted_reason is null
)

select * from final
