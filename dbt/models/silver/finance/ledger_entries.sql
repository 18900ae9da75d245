with

ledger as (
    select * from {{ ref('stg_finance__ledger') }}
),

entry_types as (
    select * from {{ ref('entry_types') }}
),

-- The cast changes nothing on BigQuery; bqemulator 1.4.0 divides NUMERIC into FLOAT64.
live_entries as (
    select
        entry_id,
        nullif(upper(trim(entry_type)), '') as entry_type,
        nullif(upper(trim(item)), '') as item,
        nullif(trim(counterparty), '') as counterparty,
        nullif(trim(store), '') as store,
        nullif(trim(account), '') as account,
        posted_date,
        solo_part,
        amount as full_amount,
        if(
            share_numerator = share_denominator,
            amount,
            cast(amount * share_numerator / share_denominator as numeric)
        ) as amount,
        {{ beyond_calendar_day('finance', 'entry_date', last=end_of_next_year()) }}
            as calendar_reason,
        is_deleted,
        entry_date,
        inserted_at,
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
        live_entries.store,
        live_entries.account,
        live_entries.posted_date,
        live_entries.solo_part,
        case
            when live_entries.entry_date is null then 'impossible date'
            when live_entries.calendar_reason is not null then live_entries.calendar_reason
            when entry_types.direction is null then 'unknown type'
            when live_entries.full_amount is null then 'no amount'
        end as uncounted_reason,
        live_entries.amount,
        live_entries.full_amount,
        live_entries.is_deleted,
        format_date('%Y-%m', live_entries.entry_date) as year_month,
        live_entries.entry_date,
        live_entries.inserted_at,
    from live_entries
    left join entry_types on live_entries.entry_type = entry_types.type
)

select * from final
