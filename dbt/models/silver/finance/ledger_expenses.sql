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
        store,
        account,
        posted_date,
        solo_part,
        amount,
        full_amount,
        is_deleted,
        year_month,
        entry_date,
        inserted_at,
    from entries
    where direction = 'EXPENSES' and uncounted_reason is null
)

select * from final
