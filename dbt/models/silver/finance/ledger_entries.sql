with

ledger as (
    select * from {{ ref('stg_finance__ledger') }}
),

entry_types as (
    select * from {{ ref('entry_types') }}
),

live_entries as (
    select
        entry_id,
        nullif(upper(trim(entry_type)), '') as entry_type,
        nullif(upper(trim(item)), '') as item,
        nullif(trim(counterparty), '') as counterparty,
        nullif(trim(account), '') as account,
        coalesce(nullif(upper(trim(currency)), ''), 'PHP') as currency,
        amount,
        entry_date,
        entry_time,
    from ledger
    where not is_deleted
),

final as (
    select
        live_entries.entry_id,
        live_entries.entry_type,
        entry_types.direction,
        live_entries.item,
        live_entries.counterparty,
        live_entries.account,
        live_entries.currency,
        case
            when entry_types.direction is null then 'unknown type'
            when live_entries.currency != 'PHP' then 'foreign currency'
            when live_entries.amount is null then 'no amount'
        end as uncounted_reason,
        live_entries.amount,
        format_date('%Y-%m', live_entries.entry_date) as year_month,
        live_entries.entry_date,
        live_entries.entry_time,
    from live_entries
    left join entry_types on live_entries.entry_type = entry_types.type
)

select * from final
