with

entries as (
    select * from {{ ref('ledger_entries') }}
),

final as (
    select
        entry_id,
        entry_type as type,
        direction,
        item,
        counterparty as `to`,
        store,
        account as source,
        solo_part,
        uncounted_reason,
        amount as cost,
        full_amount as full_cost,
        posted_date,
        entry_date,
    from entries
)

select * from final
