with

entries as (
    select * from {{ ref('ledger_entries') }}
),

final as (
    select
        entry_id,
        entry_type as type,
        item,
        uncounted_reason as reason,
        full_amount as amount,
        entry_date,
    from entries
    where uncounted_reason is not null
)

select * from final
